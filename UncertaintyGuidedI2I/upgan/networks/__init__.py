"""The networks and what holds for any of them: modules, their description, their weights and their grid."""
