// Package config reads the daemon's one configuration file, fills in what is
// not given, and says what is wrong with it in words that help. It knows no
// other package of hostvol.
package config

import (
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// The modes.
const (
	// Single is one daemon that serves one node with every capability.
	Single = "single"
	// Distributed is one daemon on each node.
	Distributed = "distributed"
)

// Config is the configuration file, and what flags may set over it.
type Config struct {
	// Driver is the CSI driver's name.
	Driver string `json:"driver,omitempty"`
	// NodeID is the node's name, as the CO knows it.
	NodeID string `json:"nodeID,omitempty"`
	// Mode is "single" or "distributed".
	Mode string `json:"mode,omitempty"`
	// Endpoint is the CSI socket, unix:///path.
	Endpoint string `json:"endpoint,omitempty"`
	// AdminEndpoint is the socket of the admin commands, unix:///path; "none"
	// for none.
	AdminEndpoint string `json:"adminEndpoint,omitempty"`
	// MetricsAddress is HOST:PORT for /metrics and /healthz; "" for none.
	MetricsAddress string `json:"metricsAddress,omitempty"`
	// KubeletDir is the kubelet's --root-dir.
	KubeletDir string `json:"kubeletDir,omitempty"`
	// RegistrationPath is the kubelet's plugins_registry, where the daemon
	// registers itself; "" where a sidecar does that.
	RegistrationPath string `json:"registrationPath,omitempty"`
	// RunDir is for what does not outlive a boot.
	RunDir string `json:"runDir,omitempty"`
	// MaxVolumesPerNode is told to the scheduler; 0 for no limit.
	MaxVolumesPerNode int64 `json:"maxVolumesPerNode,omitempty"`
	// StaticRoots are directories below which static volumes may lie.
	StaticRoots []string `json:"staticRoots,omitempty"`
	// DefaultPool is used where a class names none; "" for the pool with the
	// most space.
	DefaultPool string `json:"defaultPool,omitempty"`
	Pools       []Pool `json:"pools,omitempty"`
	Trash       Trash  `json:"trash,omitempty"`
	Health      Health `json:"health,omitempty"`
	Copies      Copies `json:"copies,omitempty"`
	// Flex lets FlexVolume pods in; nil does not.
	Flex *Flex `json:"flex,omitempty"`
}

// Flex is what pods with FlexVolumes may have. Whoever may make a pod may name any
// volume of it, in every namespace.
type Flex struct {
	// Endpoint is the socket that the FlexVolume driver asks, unix:///path, which is
	// to be seen by the kubelet.
	Endpoint string `json:"endpoint,omitempty"`
	// Pools are those whose volumes may be used and made.
	Pools []string `json:"pools,omitempty"`
	// Roots are directories below which a path may lie.
	Roots []string `json:"roots,omitempty"`
}

// Pool is one pool.
type Pool struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Limit of what may be promised, such as "500Gi"; nil for the filesystem's
	// size.
	Limit *Size `json:"limit,omitempty"`
	// Overcommit is the factor by which more may be promised; 0 means 1.
	Overcommit float64 `json:"overcommit,omitempty"`
	// Reserve stays free on the filesystem; nil for nothing on a filesystem of
	// the pool's own, and a tenth of a shared one.
	Reserve *Size `json:"reserve,omitempty"`
	// Create lets an empty directory become a pool.
	Create bool `json:"create,omitempty"`
	// RequireMount refuses a path that is not a mount point.
	RequireMount bool `json:"requireMount,omitempty"`
	// UUID refuses any other pool.
	UUID string `json:"uuid,omitempty"`
	// EnableQuota lets the daemon switch quotas on for the whole filesystem.
	EnableQuota bool `json:"enableQuota,omitempty"`
}

// Trash says how long deleted volumes are kept.
type Trash struct {
	// Retention such as "24h"; 0 purges at once.
	Retention Duration `json:"retention,omitempty"`
	// PurgeRate in files per second; 0 means 5000, negative is unbounded.
	PurgeRate int `json:"purgeRate,omitempty"`
}

// Health says how often volumes are looked at.
type Health struct {
	// Interval between two looks; 0 means 5m.
	Interval Duration `json:"interval,omitempty"`
	// DeepInterval between two walks through the files; 0 means 6h.
	DeepInterval Duration `json:"deepInterval,omitempty"`
}

// Copies says how long a copy of a volume or snapshot goes on.
type Copies struct {
	// AbandonAfter is the time without a call that asks for it; 0 means 15m.
	AbandonAfter Duration `json:"abandonAfter,omitempty"`
	// FreezeFor is how long a mounted filesystem may be frozen while it is copied; 0
	// means 10s.
	FreezeFor Duration `json:"freezeFor,omitempty"`
}

// Read reads a file. A field that does not exist is an error.
func Read(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads the text of a configuration file.
func Parse(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", explain(err))
	}
	return c, nil
}

// Complete fills in the defaults.
func (c *Config) Complete() {
	set := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	set(&c.Driver, "hostvol.csi.io")
	set(&c.Mode, Single)
	set(&c.KubeletDir, "/var/lib/kubelet")
	set(&c.Endpoint, "unix://"+c.KubeletDir+"/plugins/"+c.Driver+"/csi.sock")
	set(&c.RunDir, "/run/hostvol")
	if c.Flex != nil {
		set(&c.Flex.Endpoint, "unix://"+c.KubeletDir+"/plugins/"+c.Driver+"/flex.sock")
	}
	set(&c.AdminEndpoint, "unix://"+c.RunDir+"/admin.sock")
	if len(c.Pools) == 0 {
		c.Pools = []Pool{{Name: "default", Path: "/var/lib/hostvol", Create: true}}
	}
	for i := range c.Pools {
		if c.Pools[i].Overcommit == 0 {
			c.Pools[i].Overcommit = 1
		}
	}
	if c.Trash.PurgeRate == 0 {
		c.Trash.PurgeRate = 5000
	}
	if c.Health.Interval.Duration == 0 {
		c.Health.Interval.Duration = 5 * time.Minute
	}
	if c.Health.DeepInterval.Duration == 0 {
		c.Health.DeepInterval.Duration = 6 * time.Hour
	}
	if c.Copies.FreezeFor.Duration == 0 { // longer stalls look like a dead disk to applications
		c.Copies.FreezeFor.Duration = 10 * time.Second
	}
	if c.Copies.AbandonAfter.Duration == 0 { // sidecars wait up to 5m before they repeat a call
		c.Copies.AbandonAfter.Duration = 15 * time.Minute
	}
}
