package flex

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"unicode"
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$`)

// Server checks the name or address of a server, and gives it as it stands before a
// path: an IPv6 address in brackets.
func Server(name string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if address, err := netip.ParseAddr(bare); err == nil {
		if address.Zone() != "" && !hostName.MatchString(address.Zone()) {
			return "", fmt.Errorf("server %q has no usable zone", name)
		}
		if address.Is6() {
			return "[" + bare + "]", nil
		}
		return bare, nil
	}
	if len(name) > 253 || !hostName.MatchString(name) {
		return "", fmt.Errorf("server %q is neither a host name nor an address", name)
	}
	return name, nil
}

// SharePath checks a path on a server. It may have blanks, quotes and anything else
// that is no control character: no shell sees it.
func SharePath(path string) error {
	switch {
	case strings.ContainsFunc(path, unicode.IsControl):
		return fmt.Errorf("share %q has a control character", path)
	case len(path) > 4000:
		return fmt.Errorf("the share's path has %d bytes, more than 4000", len(path))
	}
	for _, part := range strings.Split(path, "/") {
		if part == ".." {
			return fmt.Errorf("share %q leads upwards", path)
		}
	}
	return nil
}
