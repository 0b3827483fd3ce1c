// Package mountopt checks the mount options of a manifest against a list: whoever
// may make a pod writes them, and they end on the command line of a program that
// runs as root.
package mountopt

import (
	"fmt"
	"slices"
	"strings"
)

// List is what is allowed.
type List struct {
	// Flags take no value, Values must have one. A flag's "no" form is a flag of its
	// own.
	Flags, Values []string
	// Either are names of which at most one may be given.
	Either [][]string
	// Reasons says of options that are not allowed why; the key is the name.
	Reasons map[string]string
}

// Parse reads options as mount(8) takes them, separated by commas, each given once.
// "rw" and "ro" are not among the result; readOnly tells of them.
func (l List) Parse(text string) (options []string, readOnly bool, err error) {
	seen := map[string]bool{}
	for _, option := range strings.Split(text, ",") {
		option = strings.TrimSpace(option)
		if option == "" || option == "rw" || option == "defaults" {
			continue
		}
		if option == "ro" {
			readOnly = true
			continue
		}
		name, value, has := strings.Cut(option, "=")
		if err := l.allowed(name, value, has); err != nil {
			return nil, false, err
		}
		if seen[name] {
			return nil, false, fmt.Errorf("mount option %q is given twice", name)
		}
		seen[name] = true
		options = append(options, option)
	}
	for _, group := range l.Either {
		both := slices.DeleteFunc(slices.Clone(group), func(name string) bool { return !seen[name] })
		if len(both) > 1 {
			return nil, false, fmt.Errorf("mount options %q and %q contradict each other; give one", both[0], both[1])
		}
	}
	return options, readOnly, nil
}

func (l List) allowed(name, value string, has bool) error {
	known := l.Flags
	if has {
		known = l.Values
	}
	switch reason, refused := l.Reasons[name]; {
	case refused:
		return fmt.Errorf("mount option %q is not allowed: %s", name, reason)
	case slices.Contains(known, name):
	case has && slices.Contains(l.Flags, name):
		return fmt.Errorf("mount option %q takes no value", name)
	case !has && slices.Contains(l.Values, name):
		return fmt.Errorf("mount option %q needs a value", name)
	default:
		return fmt.Errorf("mount option %q is not allowed; allowed are %s", name, strings.Join(slices.Sorted(slices.Values(slices.Concat(l.Flags, l.Values))), ", "))
	}
	if has && (value == "" || strings.ContainsFunc(value, func(r rune) bool { return !plain(r) })) {
		return fmt.Errorf("mount option %q: the value may have letters, digits and . : _ / @ - only", name)
	}
	return nil
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".:_/@-", r)
}

// Has tells whether one of the names is among the options.
func Has(options []string, names ...string) bool {
	return slices.ContainsFunc(options, func(option string) bool {
		name, _, _ := strings.Cut(option, "=")
		return slices.Contains(names, name)
	})
}
