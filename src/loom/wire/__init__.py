"""What both ends of a connection must agree on: pure parsers and encoders. Private."""
