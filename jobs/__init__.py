"""Work that is started by time or by a cycle event: clock, close, billing and its gateways."""
