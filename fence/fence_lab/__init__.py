"""What fence agents are made of: options, actions, time, and an HTTPS client."""
