package volume

import (
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/hostvol/hostvol/pkg/host/mount"
	"github.com/hostvol/hostvol/pkg/host/safepath"
	"github.com/hostvol/hostvol/pkg/pool"
)

// The attributes that the kubelet adds for a driver with podInfoOnMount.
const (
	// attributeEphemeral is "true" for inline volumes.
	attributeEphemeral = "csi.storage.k8s.io/ephemeral"
	attributePodUID    = "csi.storage.k8s.io/pod.uid"
)

// attributeSize is the one attribute of an inline volume that is no parameter of
// a class.
const attributeSize = "size"

// podsDir is where the kubelet keeps a directory for each pod, by its uid.
const podsDir = "pods"

// parseEphemeral understands a request to publish an inline volume; nil for any
// other. Its attributes are the pod author's, but for those that the kubelet adds
// or replaces.
func (s *Service) parseEphemeral(r PublishRequest) (*ephemeral, error) {
	if r.Context[attributeEphemeral] != "true" {
		return nil, nil
	}
	e := ephemeral{of: pool.Ephemeral{Pod: r.Context[attributePodUID], Target: r.Target}, access: r.Access}
	var ours bool
	if e.id, ours = s.local(r.Handle); !ours || e.id != r.Handle {
		return nil, invalid("%q cannot be the id of an ephemeral volume", r.Handle)
	}
	if err := s.checkPod(e.of); err != nil {
		return nil, err
	}
	given := map[string]string{}
	for key, value := range r.Context {
		switch {
		case strings.HasPrefix(key, foreignPrefix), key == attributeSize:
		case key == paramMkfsOptions: // they are arguments of a program that runs as root
			return nil, invalid("an inline volume cannot have the attribute %s; use a class", paramMkfsOptions)
		case key == attributePath:
			return nil, invalid("an inline volume cannot have the attribute %s; use a persistent volume", attributePath)
		case !slices.Contains(parameterNames(), key):
			return nil, invalid("unknown attribute %q of an ephemeral volume; known are %s, %s", key, attributeSize, strings.Join(parameterNames(), ", "))
		default:
			given[key] = value
		}
	}
	var err error
	if e.params, err = parseParameters(given); err != nil {
		return nil, err
	}
	e.bytes, err = parseSize(r.Context[attributeSize])
	return &e, err
}

// checkPod checks that the target lies in the directory of the pod. The sweep
// relies on it: while there is that directory, the kubelet may want the volume.
func (s *Service) checkPod(of pool.Ephemeral) error {
	switch {
	case of.Pod == "":
		return invalid("an ephemeral volume needs its pod's uid (%s); set podInfoOnMount in the CSIDriver object", attributePodUID)
	case !validUID(of.Pod):
		return invalid("%s: %q is not a uid", attributePodUID, of.Pod)
	case !mount.Below(of.Target, s.podDir(of.Pod)):
		return invalid("target %q is not below %s, the directory of the pod", of.Target, s.podDir(of.Pod))
	}
	return nil
}

func (s *Service) podDir(uid string) string {
	return filepath.Join(s.opts.KubeletDir, podsDir, uid)
}

// maxUID is the longest uid in bytes. It is a UUID as a rule, for static pods a
// hash.
const maxUID = 128

// validUID tells whether s can be a uid. It names a directory.
func validUID(s string) bool {
	if len(s) > maxUID || safepath.Component(s) != nil {
		return false
	}
	for _, c := range s {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// parseSize reads the attribute size.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, invalid("an ephemeral volume needs the attribute %s, for example %s: 1Gi", attributeSize, attributeSize)
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return 0, invalid("attribute %s: %q is not a positive size such as 1Gi", attributeSize, text)
	}
	return Range{Required: q.Value()}.bytes()
}
