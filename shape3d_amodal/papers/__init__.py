"""What only one paper's experiment needs. No other room but the command line imports this one."""
