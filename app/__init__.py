"""Stepwell: the backend that an online intensive outpatient program runs on."""
