"""What a recipe is composed of: one small module per feature."""
