"""What a reader gets: two tables, figures, one page."""
