"""What tests share: real servers, real clients, and processes that end."""
