"""What Stepwell costs, told as a ratio to what the same thing costs without it."""
