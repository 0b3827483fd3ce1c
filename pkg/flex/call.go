package flex

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// call is one call, its arguments read.
type call struct {
	name   string
	serve  func(context.Context, Driver, call) (Reply, error)
	path   string
	device string
	// unread: there are arguments that could not be understood.
	unread  bool
	options Options
	bytes   int64
}

// quiet tells whether the arguments hold secrets, or may.
func (c call) quiet() bool { return c.unread || len(c.options.Secrets) > 0 }

// form is what a call looks like: its arguments by name, and what serves it.
type form struct {
	arguments []string
	serve     func(context.Context, Driver, call) (Reply, error)
}

// The names of arguments.
const (
	argOptions = "options"
	argPath    = "path"
	argDevice  = "device"
	argNode    = "node"
	argName    = "name"
	argBytes   = "new-bytes"
	argBefore  = "old-bytes"
)

func forms() map[string]form {
	return map[string]form{
		"init":          {nil, serveInit},
		"getvolumename": {[]string{argOptions}, notSupported},
		"attach":        {[]string{argOptions, argNode}, serveAttach},
		"detach":        {[]string{argName, argNode}, serveDetach},
		"waitforattach": {[]string{argDevice, argOptions}, serveWaitForAttach},
		"isattached":    {[]string{argOptions, argNode}, notSupported},
		"mountdevice":   {[]string{argPath, argDevice, argOptions}, serveMountDevice},
		"unmountdevice": {[]string{argPath}, serveUnmount},
		"mount":         {[]string{argPath, argOptions}, serveMount},
		"unmount":       {[]string{argPath}, serveUnmount},
		"expandvolume":  {[]string{argOptions, argPath, argBytes, argBefore}, serveExpandVolume},
		"expandfs":      {[]string{argOptions, argDevice, argPath, argBytes, argBefore}, serveExpandFS},
	}
}

// IsCall tells whether a word is the name of a call.
func IsCall(word string) bool {
	_, ok := forms()[word]
	return ok
}

// parse reads the arguments of a call. With an error the call has what was
// understood.
func parse(args []string) (call, error) {
	if len(args) == 0 {
		return call{}, fmt.Errorf("which call? This is a FlexVolume driver for the kubelet; %s", usage())
	}
	c := call{name: printable(args[0]), unread: len(args) > 1}
	f, ok := forms()[args[0]]
	switch {
	case !ok:
		// Not "not supported": that is for calls that are known, and a promise for ever.
		return c, fmt.Errorf("there is no call %q; %s", c.name, usage())
	case len(args)-1 != len(f.arguments):
		return c, fmt.Errorf("%s takes %d arguments (%s), not %d", c.name, len(f.arguments), strings.Join(f.arguments, ", "), len(args)-1)
	}
	c.serve = f.serve
	for i, argument := range f.arguments {
		if err := c.set(argument, args[i+1]); err != nil {
			return c, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	c.unread = false
	return c, nil
}

func (c *call) set(argument, value string) (err error) {
	switch argument {
	case argOptions:
		c.options, err = parseOptions(value)
	case argPath:
		c.path = value
	case argDevice:
		c.device = value
	case argBytes:
		if c.bytes, err = strconv.ParseInt(value, 10, 64); err != nil || c.bytes <= 0 {
			return fmt.Errorf("%q is no size in bytes", value)
		}
	}
	return err
}

func usage() string {
	var all []string
	for name := range forms() {
		all = append(all, name)
	}
	slices.Sort(all)
	return "calls are " + strings.Join(all, ", ")
}
