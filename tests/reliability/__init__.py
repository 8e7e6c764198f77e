"""What others lose: kills, full disks, lost answers, hostile input. Names of rules: CR-, SEC-, I-."""
