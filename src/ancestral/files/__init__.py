"""Write files so that a killed process damages none, and read files within bounds."""
