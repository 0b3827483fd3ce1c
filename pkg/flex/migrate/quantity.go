package migrate

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// parseQuantity reads a number of bytes as Kubernetes writes it: "10Gi", "5e9",
// "500m". It is exact, for sizes are compared.
func parseQuantity(s string) (*big.Rat, error) {
	number := strings.TrimRight(s, "EPTGMKkinum")
	factor, known := suffixes()[s[len(number):]]
	if at := strings.IndexAny(number, "eE"); at >= 0 { // at its end a capital E is the suffix
		n, err := strconv.Atoi(number[at+1:])
		if err != nil || n > 30 || n < -30 || number != s {
			return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
		}
		number, factor = number[:at], power(10, n)
	}
	if !known || strings.Trim(number, "0123456789.") != "" || number == "" || number == "." || strings.Count(number, ".") > 1 || len(number) > 40 {
		return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok || r.Sign() <= 0 {
		return nil, fmt.Errorf("%q is not a size such as 10Gi", s)
	}
	return r.Mul(r, factor), nil
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
