package target

import (
	"context"
	"slices"

	"gatehouse/internal/mcp"
)

// skills reads the URIs of the skills that a server lists and of their files, so that they lead back to it: they need not be
// in its list of resources (SEP-2640). What cannot be read is left out.
func (c *Conn) skills(ctx context.Context) []string {
	var all []string
	cursor := ""
	for range maxPages {
		var params []byte
		if cursor != "" {
			params = append(mcp.AppendString([]byte(`{"cursor":`), cursor), '}')
		}
		result, err := c.Call(ctx, mcp.MethodSkillsList, params, nil)
		if err != nil {
			c.t.opt.Log.Debug("the skills cannot be listed", "error", err)
			break
		}
		uris, next := mcp.SkillFiles(result)
		if all = append(all, uris...); next == "" || len(all) > maxItems {
			break
		}
		cursor = next
	}
	slices.Sort(all)
	return slices.Compact(all)
}
