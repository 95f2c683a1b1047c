"""What client and server must agree on: pure parsers and encoders. Private."""
