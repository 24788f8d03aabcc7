"""What goes wrong around us, and the proof that no client is deceived by it."""
