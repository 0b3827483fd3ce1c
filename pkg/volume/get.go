package volume

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/hostvol/hostvol/pkg/pool"
)

// Get finds a volume of the CO.
func (s *Service) Get(handle string) (Volume, error) {
	p, rec, err := s.lookupOwned(handle)
	if err != nil {
		return Volume{}, err
	}
	return s.volume(p, rec), nil
}

// Find finds a volume of the CO by its handle, or by the name that it was made with.
func (s *Service) Find(name string) (Volume, error) {
	v, err := s.Get(name)
	if errors.Is(err, ErrNotFound) && idOf(name) != name {
		if byName, err := s.Get(s.handle(idOf(name))); err == nil {
			return byName, nil
		}
	}
	return v, err
}

// List lists at most n volumes of the CO (all for 0) in the order of their ids,
// from the one after which the token was given. next is "" at the end. Volumes
// that come and go between two pages move no others.
func (s *Service) List(token string, n int) (page []Volume, next string, err error) {
	after, err := decodeToken(token)
	if err != nil {
		return nil, "", err
	}
	ask := n
	if n > 0 {
		ask = n + 1 // one more tells whether there is a next page
	}
	page = s.list(after, ask, owned)
	if n > 0 && len(page) > n {
		page = page[:n]
		next = encodeToken(page[n-1].ID)
	}
	return page, next, nil
}

// All lists all volumes, the pods' ephemeral ones too, in the order of their ids.
func (s *Service) All() []Volume {
	return s.list("", 0, func(pool.Record) bool { return true })
}

// list lists at most n volumes of each pool.
func (s *Service) list(after string, n int, wanted func(pool.Record) bool) (page []Volume) {
	pools := s.pools.all()
	for _, p := range pools {
		records := p.Select(after, n, wanted)
		page = slices.Grow(page, len(records))
		for _, rec := range records {
			page = append(page, s.volume(p, rec))
		}
	}
	if len(pools) > 1 {
		slices.SortFunc(page, func(a, b Volume) int { return strings.Compare(a.ID, b.ID) })
	}
	return page
}

// tokenVersion begins a token, so that later versions can tell them apart.
const tokenVersion = "1"

var errToken = errors.New("it is not a token that this driver has given; begin again without one")

func encodeToken(id string) string {
	body := tokenVersion + " " + id
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %08x", body, crc32.ChecksumIEEE([]byte(body))))
}

// decodeToken gives the id after which a page begins. A wrong token is ErrToken.
func decodeToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", kind(ErrToken, "%q: %w", token, errToken)
	}
	fields := strings.Split(string(raw), " ")
	if len(fields) != 3 || fields[0] != tokenVersion || !pool.ValidID(fields[1]) || encodeToken(fields[1]) != token {
		return "", kind(ErrToken, "%q: %w", token, errToken)
	}
	return fields[1], nil
}
