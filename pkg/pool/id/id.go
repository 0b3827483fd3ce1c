// Package id says what can be the name of an item of a pool. It stands alone, so
// that a small program can ask it without the rest of a pool.
package id

// Max is the longest id. CSI allows 128 bytes in a string field, and the
// handle in distributed mode is the id, an at sign and 8 hex digits.
const Max = 119

// Valid tells whether s can be the name of an item: [a-z0-9][a-z0-9.-]*, at
// most 119 bytes. Such a name is also a safe file name.
func Valid(s string) bool {
	if s == "" || len(s) > Max || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
