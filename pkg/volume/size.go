package volume

// DefaultBytes is the size of a volume for which none is asked.
const DefaultBytes = 1 << 30

// MinBytes is the smallest size: a filesystem needs some for itself.
const MinBytes = 1 << 20

// Range is what a size may be, in bytes; 0 leaves an end open.
type Range struct {
	Required, Limit int64
}

// bytes chooses the size of a new volume.
func (r Range) bytes() (int64, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	size := r.Required
	if size == 0 {
		size = DefaultBytes
		if r.Limit > 0 {
			size = min(size, r.Limit)
		}
	}
	size = max(size, MinBytes)
	if r.Limit > 0 && size > r.Limit {
		return 0, kind(ErrOutOfRange, "the limit of %d bytes is below the smallest volume, %d bytes", r.Limit, MinBytes)
	}
	return size, nil
}

func (r Range) check() error {
	switch {
	case r.Required < 0 || r.Limit < 0:
		return invalid("a size cannot be negative (required %d, limit %d)", r.Required, r.Limit)
	case r.Limit > 0 && r.Required > r.Limit:
		return kind(ErrOutOfRange, "%d bytes required are more than the limit of %d", r.Required, r.Limit)
	}
	return nil
}
