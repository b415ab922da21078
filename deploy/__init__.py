"""What is deployed: the development broker, images, dashboards."""
