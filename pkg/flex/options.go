package flex

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The keys that the kubelet adds to the options of a manifest.
const (
	prefix       = "kubernetes.io/"
	keyFSType    = prefix + "fsType"
	keyReadWrite = prefix + "readwrite"
	keyName      = prefix + "pvOrVolumeName"
	keyFSGroup   = prefix + "mounterArgs.FsGroup"
	keySecret    = prefix + "secret/"
)

// Options are what a manifest asks of a volume, and what the kubelet adds. A
// manifest can set the kubelet's keys, too, so none of them is proof of anything.
type Options struct {
	// Values are the manifest's own options.
	Values map[string]string
	// FSType is the filesystem that is wanted, "" for any.
	FSType   string
	ReadOnly bool
	// Name is that of the persistent volume, or of an inline one within its pod. It
	// does not tell inline volumes of two pods apart.
	Name string
	// FSGroup is the group that is to have the files; nil for none.
	FSGroup *int64
	Secrets map[string]Secret
}

// Secret is one value of the volume's Secret. It shows itself to nobody.
type Secret []byte

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// optionsLimit bounds the JSON of a call, in bytes; a Secret has up to 1 MiB.
const optionsLimit = 4 << 20

// parseOptions reads the JSON of a call: one object of strings.
func parseOptions(text string) (Options, error) {
	if len(text) > optionsLimit {
		return Options{}, fmt.Errorf("the options have %d bytes, more than %d", len(text), optionsLimit)
	}
	var all map[string]*string
	in := json.NewDecoder(strings.NewReader(text))
	if err := in.Decode(&all); err != nil {
		return Options{}, fmt.Errorf("the options are not a JSON object of strings: %w", withoutInput(err))
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return Options{}, errors.New("the options are not one JSON object: something follows it")
	}
	if all == nil {
		return Options{}, errors.New("the options are not a JSON object but null")
	}
	o := Options{Values: map[string]string{}, Secrets: map[string]Secret{}}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key] == nil {
			return o, fmt.Errorf("option %q is null; give it a text", key)
		}
		if err := o.set(key, *all[key]); err != nil {
			return o, err
		}
	}
	return o, nil
}

// withoutInput keeps what was read out of an error: it may be a secret.
func withoutInput(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("it is malformed at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("it has a %s at byte %d", strings.Fields(kind.Value)[0], kind.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends too early")
	}
	return errors.New("it is malformed")
}

func (o *Options) set(key, value string) error {
	secret, isSecret := strings.CutPrefix(key, keySecret)
	switch {
	case isSecret:
		data, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return fmt.Errorf("secret %q is not base64", secret)
		}
		o.Secrets[secret] = bytes.Clone(data)
	case key == keyFSType:
		o.FSType = value
	case key == keyReadWrite:
		if value != "ro" && value != "rw" {
			return fmt.Errorf("option %s is %q; it can be ro or rw", key, value)
		}
		o.ReadOnly = value == "ro"
	case key == keyName:
		o.Name = value
	case key == keyFSGroup:
		group, err := strconv.ParseInt(value, 10, 64)
		if err != nil || group < 0 || group > maxGroup {
			return fmt.Errorf("option %s is %q, which is no group id", key, value)
		}
		o.FSGroup = &group
	case strings.HasPrefix(key, prefix): // the pod, and what later kubelets add
	default:
		o.Values[key] = value
	}
	return nil
}

const maxGroup = 1<<32 - 2

// Pick gives the options by their names, in the order of the names: each name may
// have others that mean the same, after a bar: "mountOptions|opts". Upper and lower
// case are one. An option that is given and not among them is an error, and so are
// two that mean the same. Blanks around a value are the manifest's, and stay.
func (o Options) Pick(names ...string) ([]string, error) {
	out := make([]string, len(names))
	given := map[int]string{}
	for _, key := range slices.Sorted(maps.Keys(o.Values)) {
		at := slices.IndexFunc(names, func(all string) bool {
			return slices.ContainsFunc(strings.Split(all, "|"), func(name string) bool { return strings.EqualFold(name, key) })
		})
		if at < 0 {
			return nil, fmt.Errorf("option %q is not known here; known are %s", key, strings.Join(names, ", "))
		}
		if before, twice := given[at]; twice {
			return nil, fmt.Errorf("options %q and %q mean the same; give one", before, key)
		}
		given[at] = key
		out[at] = o.Values[key]
	}
	return out, nil
}

// Size reads the option size, as Kubernetes writes sizes, and gives it in bytes.
func Size(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return 0, fmt.Errorf("option size: %q is not a size such as 10Gi", text)
	}
	if q.CmpInt64(math.MaxInt64) >= 0 {
		return 0, fmt.Errorf("option size: %q is too large", text)
	}
	return q.Value(), nil
}
