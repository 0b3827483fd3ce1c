package flex

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// isHostName tells what can be a name in DNS, or in /etc/hosts.
func isHostName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.HasPrefix(name, "-") && !strings.HasPrefix(name, ".") &&
		!strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		})
}

// Server checks the name or address of a server, and gives it as it stands before a
// path: an IPv6 address in brackets.
func Server(name string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if address, err := netip.ParseAddr(bare); err == nil {
		if address.Zone() != "" && !isHostName(address.Zone()) {
			return "", fmt.Errorf("server %q has no usable zone", name)
		}
		if address.Is6() {
			return "[" + bare + "]", nil
		}
		return bare, nil
	}
	if !isHostName(name) {
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
