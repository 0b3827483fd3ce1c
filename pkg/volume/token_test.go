package volume

import (
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

func TestTokens(t *testing.T) {
	for _, id := range []string{"a", "pvc-1.2", strings.Repeat("z", 119)} {
		after, err := decodeToken(encodeToken(id))
		if err != nil || after != id {
			t.Errorf("%q: %q %v", id, after, err)
		}
	}
	if after, err := decodeToken(""); err != nil || after != "" {
		t.Errorf("none: %q %v", after, err)
	}
}

func TestTokensThatNobodyGave(t *testing.T) {
	signed := func(body string) string {
		return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %08x", body, crc32.ChecksumIEEE([]byte(body))))
	}
	good := encodeToken("vol")
	if signed("1 vol") != good {
		t.Fatal("the test makes other tokens than the service")
	}
	for name, token := range map[string]string{
		"text":           "bogus",
		"blank":          " ",
		"not base64":     "!!!",
		"padded":         base64.URLEncoding.EncodeToString([]byte("1 vol 1")),
		"cut":            good[:len(good)-2],
		"twice":          good + good,
		"a later form":   signed("2 vol"),
		"no id":          signed("1 "),
		"a hostile id":   signed("1 ../../etc"),
		"an empty field": signed("1  vol"),
		"too many words": signed("1 vol vol"),
		"other sum":      base64.RawURLEncoding.EncodeToString([]byte("1 vol 00000000")),
		"4 KiB":          strings.Repeat("A", 4096),
	} {
		if after, err := decodeToken(token); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %q %v", name, after, err)
		}
	}
}

func FuzzTokens(f *testing.F) {
	f.Add(encodeToken("vol"))
	f.Add("bogus")
	f.Fuzz(func(t *testing.T, token string) {
		if after, err := decodeToken(token); err == nil && token != "" && encodeToken(after) != token {
			t.Errorf("%q is taken for %q", token, after)
		}
	})
}
