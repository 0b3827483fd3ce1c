package migrate

import (
	"fmt"
	"math/big"
	"strings"
)

// parseQuantity reads a number of bytes as Kubernetes writes it: "10Gi", "5e9",
// "500m". It is exact, for sizes are compared.
func parseQuantity(s string) (*big.Rat, error) {
	number := strings.TrimRight(s, "EPTGMKkinumu")
	factor, ok := suffixes()[s[len(number):]]
	if mantissa, exponent, e := strings.Cut(s, "e"); e || !ok {
		// An exponent; a capital E alone is the suffix.
		if !e {
			mantissa, exponent, e = strings.Cut(s, "E")
		}
		var n int
		if _, err := fmt.Sscanf(exponent, "%d", &n); !e || err != nil || n > 30 || n < -30 || fmt.Sprintf("%+d", n) != signed(exponent) {
			return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
		}
		number, factor = mantissa, power(10, n)
	}
	if strings.Trim(number, "0123456789.") != "" || number == "" || number == "." || strings.Count(number, ".") > 1 || len(number) > 40 {
		return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok || r.Sign() <= 0 {
		return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
	}
	return r.Mul(r, factor), nil
}

func signed(exponent string) string {
	if strings.HasPrefix(exponent, "+") || strings.HasPrefix(exponent, "-") {
		return exponent
	}
	return "+" + exponent
}

func suffixes() map[string]*big.Rat {
	all := map[string]*big.Rat{"": power(1, 1), "m": power(10, -3), "u": power(10, -6), "n": power(10, -9), "k": power(10, 3)}
	for i, letter := range []string{"K", "M", "G", "T", "P", "E"} {
		all[letter+"i"] = power(1024, i+1)
		if letter != "K" {
			all[letter] = power(1000, i+1)
		}
	}
	return all
}

func power(base int64, exponent int) *big.Rat {
	e := int64(exponent)
	if e < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(base), big.NewInt(-e), nil))
	}
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(e), nil))
}
