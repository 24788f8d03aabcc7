docker compose run --detach --rm --name sse-meanwhile hub   # the new image takes all streams over
docker compose up --detach --no-deps hub                    # and hands them to the new container of the service
