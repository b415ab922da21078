"""Gateways: where payment requests are asked for. `base` says what one does, each other module is one."""
