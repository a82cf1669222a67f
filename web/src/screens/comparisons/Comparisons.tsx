// Comparisons: what was compared?
import type { JSX } from "preact";
import { useAnswer } from "../../api/ask";
import type { ComparisonList } from "../../api/types";
import { count, plural } from "../../format";
import { Awaited, Nothing } from "../../parts/States";
import { Origin, Title, useTitle } from "../../parts/Title";

const ADDRESS = "/api/compare";

/** Every comparison. */
export default function Comparisons(): JSX.Element {
  useTitle("Comparisons");
  const answer = useAnswer<ComparisonList>(ADDRESS);
  return (
    <>
      <Title question="What was compared?" />
      <Awaited answer={answer}>
        {(list) => (
          <>
            <p class="small" data-testid="shown">
              showing {count(list.rows.length)} of <strong>{plural(list.total, "comparison")}</strong>
            </p>
            {list.rows.length ? (
              <ul class="layers" data-testid="comparisons">
                {list.rows.map((row) => (
                  <li key={row.id} data-testid="comparison" data-id={row.id} data-kind={row.kind}>
                    <a href={`/compare/${encodeURIComponent(row.id)}`} data-row>
                      <bdi>{row.first}</bdi> and <bdi>{row.second}</bdi>
                    </a>
                    <br />
                    <span class="soft small">{row.sentence}</span>
                  </li>
                ))}
              </ul>
            ) : (
              <Nothing>None yet: `patchclamp compare MODEL MODEL --inputs TEXT --atlas ATLAS` adds one.</Nothing>
            )}
            <Origin source={list.source} twin={ADDRESS} />
          </>
        )}
      </Awaited>
    </>
  );
}
