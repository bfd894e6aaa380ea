"""The tests of Cervella."""
