package volume

import "github.com/hostvol/hostvol/pkg/engine"

// Capacity is what new volumes may take, in bytes.
type Capacity struct {
	// Available in all pools together; Largest is the largest single volume.
	Available, Largest int64
}

// Capacity tells what is left for volumes of a class at a place, nil for here.
// A class or place that has nothing to do with this node has nothing here.
func (s *Service) Capacity(given map[string]string, place map[string]string, a Access) (Capacity, error) {
	if !s.here(place) {
		return Capacity{}, nil
	}
	params, err := parseParameters(given)
	if err != nil {
		// A class of which nothing can be made must not look like a full node,
		// to which the scheduler would send no pod: then nobody would ever be
		// told. Create refuses it, and says why at the claim.
		params = parameters{enforce: engine.None}
	}
	fit, _, err := s.candidates(params, params.engineFor(a))
	if err != nil {
		return Capacity{}, nil //nolint:nilerr // a pool that is not here has no room here
	}
	var c Capacity
	for _, p := range fit {
		space, err := p.Space()
		if err != nil { // a dead disk has no room; health tells of it
			continue
		}
		c.Available += space.Available
		c.Largest = max(c.Largest, space.Available)
	}
	return c, nil
}
