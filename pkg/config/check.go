package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// socketLimit is the longest path of a unix socket, in bytes: 107 (unix(7)) less
// the ".new" under which it is made.
const socketLimit = 103

var (
	poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// driverName is CSI's rule for GetPluginInfoResponse.name.
	driverName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$`)
	uuid       = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// Check tells everything that is wrong with a complete configuration.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if !driverName.MatchString(c.Driver) {
		bad("driver: %q is not a driver name: letters, digits, dots and dashes, at most 63", c.Driver)
	}
	if c.NodeID == "" {
		bad("nodeID: it is required (--node-id); it is the node's name in Kubernetes")
	} else if len(c.NodeID) > 253 {
		bad("nodeID: %q is longer than 253 bytes", c.NodeID)
	}
	if c.Mode != Single && c.Mode != Distributed {
		bad("mode: %q is neither %q nor %q", c.Mode, Single, Distributed)
	}
	errs = append(errs, c.checkAddresses()...)
	for name, path := range map[string]string{"kubeletDir": c.KubeletDir, "runDir": c.RunDir} {
		if err := checkPath(path); err != nil {
			bad("%s: %w", name, err)
		}
	}
	for _, root := range c.StaticRoots {
		if err := checkPath(root); err != nil {
			bad("staticRoots: %w", err)
		} else if root == "/" {
			bad("staticRoots: / would open the whole node to whoever may write a PersistentVolume")
		}
	}
	if c.Flex != nil {
		errs = append(errs, c.checkFlex()...)
	}
	if c.MaxVolumesPerNode < 0 {
		bad("maxVolumesPerNode: %d is negative", c.MaxVolumesPerNode)
	}
	if c.Trash.Retention.Duration < 0 || c.Health.Interval.Duration < 0 || c.Health.DeepInterval.Duration < 0 || c.Copies.AbandonAfter.Duration < 0 || c.Copies.FreezeFor.Duration < 0 {
		bad("a duration is negative")
	}
	errs = append(errs, c.checkPools()...)
	return errors.Join(errs...)
}

func (c Config) checkFlex() []error {
	var errs []error
	if _, err := Socket(c.Flex.Endpoint); err != nil {
		errs = append(errs, fmt.Errorf("flex: endpoint: %w", err))
	}
	for _, name := range c.Flex.Pools {
		if !slices.ContainsFunc(c.Pools, func(p Pool) bool { return p.Name == name }) {
			errs = append(errs, fmt.Errorf("flex: pools: there is no pool %q", name))
		}
	}
	for _, root := range c.Flex.Roots {
		if err := checkPath(root); err != nil {
			errs = append(errs, fmt.Errorf("flex: roots: %w", err))
		} else if root == "/" {
			errs = append(errs, errors.New("flex: roots: / would open the whole node to whoever may make a pod"))
		} else if of := c.holds(root); of != "" {
			errs = append(errs, fmt.Errorf("flex: roots: %s and %s contain one another, which would open that to whoever may make a pod; take a directory that holds nothing but data for pods", root, of))
		}
	}
	return errs
}

// holds tells which of the node's own directories a root contains or lies in.
func (c Config) holds(root string) string {
	within := func(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	for _, own := range []string{c.KubeletDir, c.RunDir, "/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/usr"} {
		if within(root, own) || within(own, root) {
			return own
		}
	}
	return ""
}

func (c Config) checkAddresses() []error {
	var errs []error
	if _, err := Socket(c.Endpoint); err != nil {
		errs = append(errs, fmt.Errorf("endpoint: %w", err))
	}
	if c.AdminEndpoint != None {
		if _, err := Socket(c.AdminEndpoint); err != nil {
			errs = append(errs, fmt.Errorf("adminEndpoint: %w", err))
		}
	}
	if c.MetricsAddress != "" {
		if _, _, err := net.SplitHostPort(c.MetricsAddress); err != nil {
			errs = append(errs, fmt.Errorf("metricsAddress: %w; it is HOST:PORT such as 127.0.0.1:9090", err))
		}
	}
	if c.RegistrationPath != "" {
		if err := checkPath(c.RegistrationPath); err != nil {
			errs = append(errs, fmt.Errorf("registrationPath: %w", err))
		}
	}
	return errs
}

func (c Config) checkPools() []error {
	var errs []error
	names := map[string]bool{}
	for i, p := range c.Pools {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("pools[%d] %s: %w", i, p.Name, fmt.Errorf(format, args...)))
		}
		if !poolName.MatchString(p.Name) {
			bad("name: %q is not a name: lower-case letters, digits and dashes, at most 63", p.Name)
		}
		if names[p.Name] {
			bad("name: it is used twice")
		}
		names[p.Name] = true
		if err := checkPath(p.Path); err != nil {
			bad("path: %w", err)
		} else if p.Path == "/" {
			bad("path: / cannot be a pool")
		}
		for j, other := range c.Pools {
			if i != j && (p.Path == other.Path || strings.HasPrefix(p.Path, other.Path+"/")) {
				bad("path: %s lies in that of pool %s", p.Path, other.Name)
			}
		}
		if p.Limit != nil && p.Limit.Sign() <= 0 {
			bad("limit: %s is not positive; leave it out for the filesystem's size", p.Limit)
		}
		if p.Reserve != nil && p.Reserve.Sign() < 0 {
			bad("reserve: %s is negative", p.Reserve)
		}
		if p.Overcommit < 1 {
			bad("overcommit: %v is less than 1", p.Overcommit)
		}
		if p.UUID != "" && !uuid.MatchString(p.UUID) {
			bad("uuid: %q is not a UUID in lower case", p.UUID)
		}
	}
	if c.DefaultPool != "" && !names[c.DefaultPool] {
		errs = append(errs, fmt.Errorf("defaultPool: there is no pool %q", c.DefaultPool))
	}
	return errs
}

func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("%q is not an absolute, clean path", path)
	}
	return nil
}

// None switches an endpoint off.
const None = "none"

// Socket gives the path of a unix:// endpoint.
func Socket(endpoint string) (string, error) {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || checkPath(path) != nil {
		return "", fmt.Errorf("%q is not a unix socket such as unix:///run/hostvol/csi.sock", endpoint)
	}
	if len(path) > socketLimit {
		return "", fmt.Errorf("%s is longer than the %d bytes of a socket's path", path, socketLimit)
	}
	return path, nil
}

var (
	unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)
	wrongField   = regexp.MustCompile(`cannot unmarshal (\w+)(?: [^ ]+)? into Go struct field (?:\w+\.)?([\w.]+) of type (\S+)`)
	wrongValue   = regexp.MustCompile(`cannot unmarshal (\w+) into Go value`)
)

// explain makes the decoder's words those of somebody who writes YAML.
func explain(err error) error {
	text := strings.TrimPrefix(err.Error(), "error unmarshaling JSON: while decoding JSON: ")
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("unknown field %q; docs/configuration.md lists the fields", m[1])
	}
	if m := wrongField.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s: a value of type %s is wanted, not %s", m[2], strings.TrimPrefix(m[3], "config."), m[1])
	}
	if m := wrongValue.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("fields such as \"pools:\" are wanted, not %s", m[1])
	}
	return errors.New(text)
}
