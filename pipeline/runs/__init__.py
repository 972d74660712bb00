"""The folders that trainings leave: write, read, register and compare them."""
