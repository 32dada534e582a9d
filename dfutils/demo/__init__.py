"""Short talking-head clips of made-up people, half of them with a known forgery."""
