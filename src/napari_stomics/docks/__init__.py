"""Qt widgets: the job runner, the parameter form and one small panel per task."""
