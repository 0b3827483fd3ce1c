package image

import (
	"errors"
	"fmt"
	"os"

	"github.com/hostvol/hostvol/pkg/engine"
	"github.com/hostvol/hostvol/pkg/host/safepath"
)

// Blocks implements engine.Engine: the image. What its end lacks of the volume's
// size was never written.
func (e *Engine) Blocks(item *safepath.Dir, _ engine.Volume) (*os.File, error) {
	image, err := item.Open(file, os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: its image is missing: %w", engine.ErrUnusable, err)
	}
	return image, err
}
