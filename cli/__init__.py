"""The `callmeter` command."""
