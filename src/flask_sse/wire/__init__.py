"""The event-stream format: messages, envelopes and frames. No I/O, no clock."""
