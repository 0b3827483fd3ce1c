package volume

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hostvol/hostvol/pkg/engine"
)

// The parameters of a class.
const (
	paramPool    = "pool"
	paramEnforce = "enforce"
	paramMode    = "mode"
	paramUID     = "uid"
	paramGID     = "gid"
	// Of the image engine.
	paramEngine      = "engine"
	paramAllocation  = "allocation"
	paramMkfsOptions = "mkfsOptions"
	// paramFSType is taken out by the provisioner, which puts it into the capability;
	// for callers without one it does the same.
	paramFSType = foreignPrefix + "fstype"
)

// The engines that a class can name.
const (
	directoryEngine = "directory"
	imageEngine     = "image"
)

// The values of the parameter allocation.
const (
	thin  = "thin"
	thick = "thick"
)

func parameterNames() []string {
	return []string{paramPool, paramEngine, paramEnforce, paramMode, paramUID, paramGID, paramAllocation, paramMkfsOptions}
}

// foreignPrefix begins parameters that the sidecars, and attributes that the
// kubelet, add or keep for themselves.
const foreignPrefix = "csi.storage.k8s.io/"

// defaultMode lets every user of the pod write. Nobody else gets to the volume:
// the directory above it is root's.
const defaultMode = 0o777

// maxOwner is the largest uid or gid; the one above means "leave as it is".
const maxOwner = 1<<32 - 2

// parameters are those of a class, understood.
type parameters struct {
	pool     string
	enforce  engine.Policy
	mode     uint32
	uid, gid int
	// engine is "" where the class leaves it to the use of the volume.
	engine string
	thick  bool
	fstype string
	// mkfs are arguments for the program that makes the filesystem, with one blank
	// between them.
	mkfs string
}

func parseParameters(given map[string]string) (parameters, error) {
	p := parameters{enforce: engine.Preferred, mode: defaultMode}
	for key, value := range given {
		var err error
		switch key {
		case paramPool:
			p.pool = value
		case paramEnforce:
			p.enforce = engine.Policy(value)
			if !slices.Contains(engine.Policies(), p.enforce) {
				err = invalid("parameter enforce: %q is none of %v", value, engine.Policies())
			}
		case paramMode:
			var mode uint64
			if mode, err = strconv.ParseUint(value, 8, 12); err != nil {
				err = invalid("parameter mode: %q is not an octal mode such as 0770", value)
			}
			p.mode = uint32(mode)
		case paramEngine:
			if p.engine = value; value != directoryEngine && value != imageEngine {
				err = invalid("parameter engine: %q is none of %s, %s", value, directoryEngine, imageEngine)
			}
		case paramAllocation:
			if p.thick = value == thick; !p.thick && value != thin {
				err = invalid("parameter allocation: %q is none of %s, %s", value, thin, thick)
			}
		case paramFSType:
			p.fstype = value
		case paramMkfsOptions:
			p.mkfs = strings.Join(strings.Fields(value), " ")
			if slices.ContainsFunc(strings.Fields(value), func(word string) bool { return strings.HasPrefix(word, "/") }) {
				err = invalid("parameter mkfsOptions: %q names a path; only options are taken", value)
			}
		case paramUID:
			p.uid, err = parseOwner(key, value)
		case paramGID:
			p.gid, err = parseOwner(key, value)
		default:
			if !strings.HasPrefix(key, foreignPrefix) {
				err = invalid("unknown parameter %q; known are %s", key, strings.Join(parameterNames(), ", "))
			}
		}
		if err != nil {
			return parameters{}, err
		}
	}
	if _, allocation := given[paramAllocation]; allocation || p.mkfs != "" {
		if p.engine == directoryEngine {
			return parameters{}, invalid("the parameters %s and %s are those of engine: %s", paramAllocation, paramMkfsOptions, imageEngine)
		}
		p.engine = imageEngine
	}
	return p, nil
}

func parseOwner(key, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n > maxOwner {
		return 0, invalid("parameter %s: %q is not a number from 0 to %d", key, value, uint32(maxOwner))
	}
	return int(n), nil
}

// record is the form in which the parameters are kept and compared: equal for
// equal meaning.
func (p parameters) record() map[string]string {
	out := map[string]string{}
	if p.pool != "" {
		out[paramPool] = p.pool
	}
	if p.enforce != engine.Preferred {
		out[paramEnforce] = string(p.enforce)
	}
	if p.mode != defaultMode {
		out[paramMode] = strconv.FormatUint(uint64(p.mode), 8)
	}
	if p.uid != 0 {
		out[paramUID] = strconv.Itoa(p.uid)
	}
	if p.gid != 0 {
		out[paramGID] = strconv.Itoa(p.gid)
	}
	if p.engine != "" {
		out[paramEngine] = p.engine
	}
	if p.thick {
		out[paramAllocation] = thick
	}
	if p.mkfs != "" {
		out[paramMkfsOptions] = p.mkfs
	}
	return out
}

// CheckParameters checks the parameters of a class.
func CheckParameters(given map[string]string) error {
	_, err := parseParameters(given)
	return err
}
