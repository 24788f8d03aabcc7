"""The core of the hub: it decides who gets which bytes, and when. No I/O, no clock."""
