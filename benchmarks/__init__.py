"""Measurements, one module a question; ``make bench`` runs all. Never a gate of CI."""
