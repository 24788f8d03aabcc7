"""The hub as a process of its own: its job, its parent, its logs, and what systemd asks of it."""
