"""Looking a deployment over without starting anything, and without changing anything: what `callmeter doctor` does.

Each check says what it found and, where that is not right, what to do. One that cannot look says so, and the others go
on. Nothing here writes: not to Kafka, not to ClickHouse, not to the data folder.
"""
