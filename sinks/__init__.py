"""Where usage is stored for people and dashboards: ClickHouse."""
