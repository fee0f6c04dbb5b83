package config

// checker runs on the finished configuration.
type checker struct {
	*report
	cfg *Config
}

func check(c *Config, r *report) {
}
