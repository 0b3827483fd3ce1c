package pool

// Config says where a pool lies and what it may promise.
type Config struct {
	// Name by which classes ask for the pool.
	Name string
	// Path is the pool's directory, absolute.
	Path string
	// Limit in bytes of what may be promised; 0 is the filesystem's size.
	Limit int64
	// Overcommit is the factor by which more may be promised than there is; at
	// least 1.
	Overcommit float64
	// Reserve in bytes that stay free on the filesystem; nil is nothing on a
	// filesystem of the pool's own, and a tenth of one that it shares with
	// others, since a full one breaks the node.
	Reserve *int64
	// Create lets an empty directory, or one that is missing in an existing
	// one, become a pool.
	Create bool
	// RequireMount refuses a path that is not a mount point.
	RequireMount bool
	// UUID refuses any other pool; "" takes any.
	UUID string
	// EnableQuota lets an engine switch quotas on for the whole filesystem.
	EnableQuota bool
}

func (c Config) reserve(total int64, dedicated bool) int64 {
	switch {
	case c.Reserve != nil:
		return *c.Reserve
	case dedicated:
		return 0
	}
	return total / 10
}
