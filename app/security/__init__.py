"""Who calls, what they may do, and how what they entrust to us is sealed."""
