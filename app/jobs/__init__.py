"""What happens without a request: each job is a service call in its own transaction."""
