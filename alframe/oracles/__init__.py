"""Who answers queries with labels."""
