package view

import (
	"strings"
)

// table writes rows as aligned columns, two blanks apart. Lines have no trailing blanks:
// scripts cut them and golden files compare them.
func table(out *strings.Builder, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], columns(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", max(width[i]-columns(cell), 0)+len(gap)))
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
