"""Handover: a new hub process replaces the old one and keeps every open stream."""
